"""A server on this machine that speaks the API of OpenAI and of Azure OpenAI, and really answers and really tunes."""
