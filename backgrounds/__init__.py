"""Small game scenes under free licences, listed in catalogue.yaml with their authors."""
