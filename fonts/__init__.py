"""Open-licence typefaces, listed in catalogue.yaml with their licences."""
