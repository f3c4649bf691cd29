"""Which traces, in what order, joined how, to which length."""
