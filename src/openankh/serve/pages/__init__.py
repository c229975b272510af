"""The page: proteins pasted or dropped, and all that the models here say of them, server-rendered."""
