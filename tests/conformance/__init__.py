"""One suite per plug-in point, run over every entry of its table, ours and third parties alike."""
