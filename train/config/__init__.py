"""The dataclasses behind conf/train.yaml and conf/recipe/*.yaml."""
