"""What edc costs, measured from outside: CPU, memory, latency and bytes. See the README."""
