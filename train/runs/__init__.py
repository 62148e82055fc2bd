"""From a configuration to a result.json, and back to a finished run."""
