"""From a recipe to the objects it describes: recipes stop here, and the library's plain classes begin."""
