"""The model: what embeds texts and finds their best labels."""
