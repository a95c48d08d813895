"""GPUs, CPU packages and the host: energy, memory, clocks, heat."""
