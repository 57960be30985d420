-- Queue ready jobs up to the window. Answers hints.
return feed({})
