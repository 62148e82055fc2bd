"""What both programs share: errors, atomic writes, command lines, validation, progress, pictures."""
