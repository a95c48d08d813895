"""OpenRouter: many models of many providers behind one address."""
