"""Kills, and what they may cost."""
