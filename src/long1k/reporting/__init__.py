"""What the report page is made of: charts, samples, words and the template."""
