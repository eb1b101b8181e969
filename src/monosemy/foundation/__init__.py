"""What every floor stands on: clear errors, atomic files, progress."""
