"""Where the compiled modules land. Their sources are in _native/ at the root of the project; their
stubs, beside this file, carry the documentation."""
