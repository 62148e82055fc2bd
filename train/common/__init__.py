"""What all commands share: the process, the machine, figures, tables of text."""
