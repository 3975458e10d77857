"""Small inputs with their right values: each stands for a kind of fault that was seen on somebody's wire."""
