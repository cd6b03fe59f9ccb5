"""What the operator costs and how fast it is, part by part; each has `measure(folder)`."""
