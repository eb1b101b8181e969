"""Contestants of `benchmarks/step.py`: ours, the peers, and the machine itself.

Each module runs under the Python that has its library (``python -m peers.NAME``), and is imported
by the driver for its `LIBRARY`, `PACKAGES` and `SELECTIONS` alone, so libraries are imported when a
contestant is built.
"""
