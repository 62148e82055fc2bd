"""`python -m textgen.frames task=…`: the frames of a video, labelled by whether an object is in them, as a data set."""
