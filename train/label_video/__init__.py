"""`python -m train.label_video source=… detector=…`: which objects are in the frames of a video, by a detector."""
