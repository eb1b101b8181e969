"""Instruments of ``monosemy lab``: one thin file each, imported when it is called."""
