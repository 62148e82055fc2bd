"""Labels of crops from footage, by an OCR engine, a network, a table or by hand."""
