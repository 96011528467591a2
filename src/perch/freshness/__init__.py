"""Watches over the age of a service's model, and has it trained anew when that is due."""
