"""What is studied; the only floor that knows Hugging Face transformers."""
