"""Networks: the paper's notation, scaling, ResNet-18, and layers that exist only during training."""
