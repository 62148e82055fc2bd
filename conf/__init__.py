"""The configuration: textgen.yaml and train.yaml, and the groups that they are composed of."""
