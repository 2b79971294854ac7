"""How good a model is: reports over data sets, side by side. The package itself is torch-free."""
