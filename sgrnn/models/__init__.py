"""Models whose output layer belongs to the loss, how they are scored, and the text that they write."""
