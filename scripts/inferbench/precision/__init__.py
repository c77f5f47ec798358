"""How weights are held: one module per library of weight formats, all of the same form."""
