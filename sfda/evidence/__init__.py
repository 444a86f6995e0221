"""What is known: published tables, claims, and verdicts over them. Nothing here needs torch."""
