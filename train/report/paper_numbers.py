"""Accuracies that the paper reports, Table 8 (Table 4 is a part of it) and §5.2, and speedups, Tables 3 and 4."""

IDS = {
    "lol_gold1": "V1",
    "apex_count": "V2",
    "sot_coin": "V3",
    "sot_time": "V4",
    "lol_gold2": "V5",
    "lol_time": "V6",
    "coral": "N1",
    "night": "N2",
    "roundabout": "N3",
    "taipei": "N4",
}
ACCURACY = {  # per cent, for fold=1, 2, 3, 4, on the paper's own crops
    "lol_gold1": (97.64, 97.64, 97.18, 95.27),
    "apex_count": (93.45, 92.09, 90.00, 89.91),
    "sot_coin": (98.50, 97.43, 97.20, 96.87),
    "sot_time": (96.52, 96.52, 96.00, 94.41),
    "lol_gold2": (93.95, 92.50, 90.78, 87.51),
    "lol_time": (89.71, 88.03, 85.48, 84.92),
}
SPEEDUP = {  # of fold=2, 3, 4, on a V100 by TensorRT in fp16, batch 1024
    "lol_gold1": (1.13, 1.38, 1.75),
    "apex_count": (1.15, 1.44, 1.74),
    "sot_coin": (1.15, 1.43, 1.71),
    "sot_time": (1.22, 1.40, 1.67),
    "lol_gold2": (1.12, 1.42, 1.75),
    "lol_time": (1.08, 1.42, 1.71),
    "coral": (1.39, 1.85, 2.51),
    "night": (1.38, 1.85, 2.50),
    "roundabout": (1.07, 1.37, 1.76),
    "taipei": (0.90, 1.07, 1.41),
}
