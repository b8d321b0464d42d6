"""How files are found, understood and decoded: folders, archives, tables, pictures."""
