"""The figures by name, in the order in which they run. Each module measures one group of them."""
