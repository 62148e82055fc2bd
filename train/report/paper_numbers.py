"""Accuracies that the paper reports: Table 8 (Table 4 is a part of it) and §5.2."""

IDS = {
    "lol_gold1": "V1",
    "apex_count": "V2",
    "sot_coin": "V3",
    "sot_time": "V4",
    "lol_gold2": "V5",
    "lol_time": "V6",
}
ACCURACY = {  # per cent, for fold=1, 2, 3, 4, on the paper's own crops
    "lol_gold1": (97.64, 97.64, 97.18, 95.27),
    "apex_count": (93.45, 92.09, 90.00, 89.91),
    "sot_coin": (98.50, 97.43, 97.20, 96.87),
    "sot_time": (96.52, 96.52, 96.00, 94.41),
    "lol_gold2": (93.95, 92.50, 90.78, 87.51),
    "lol_time": (89.71, 88.03, 85.48, 84.92),
}
