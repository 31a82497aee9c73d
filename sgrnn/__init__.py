"""The toolkit's public names."""
