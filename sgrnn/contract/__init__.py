"""Demands on anybody's model: outputs and a state handed back, laid out time first, nothing else changed."""
