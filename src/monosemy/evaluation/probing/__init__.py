"""Probing: how well few latents tell labelled concepts, with nothing chosen on what is tested."""
