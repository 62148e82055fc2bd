"""Training tasks and their images: data sets, live crops, folders of crops."""
