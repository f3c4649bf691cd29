"""Pure functions on arrays of grades; scipy and statsmodels underneath."""
