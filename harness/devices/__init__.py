"""GPUs of this machine, behind one small interface: NVML, a recording, or made up for tests."""
