"""`foldtext adapt`: from footage to a network that reads it. Cut, label, train, evaluate."""
