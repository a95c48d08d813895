"""The executors that come with the harness."""
