"""Hugging Face transformers, in a process of their own."""
