"""Whether everyone can have a place of his own among those he would take."""

from collections.abc import Sequence


def can_match(places: Sequence[Sequence[int]]) -> bool:
    """Whether there is a different place for each, of those listed for it."""
    holder: dict[int, int] = {}
    return all(_settle(number, places, holder) for number in range(len(places)))


def _settle(number: int, places: Sequence[Sequence[int]], holder: dict[int, int]) -> bool:
    """Find a place for one, moving others where that helps: a search in breadth for a free one."""
    came_from: dict[int, int] = {}
    waiting = [number]
    for who in waiting:
        for place in places[who]:
            if place in came_from:
                continue
            came_from[place] = who
            if place not in holder:
                _hand_on(place, number, came_from, holder)
                return True
            waiting.append(holder[place])
    return False


def _hand_on(place: int, number: int, came_from: dict[int, int], holder: dict[int, int]) -> None:
    """Everyone on the way to the free place moves one on."""
    held = {who: where for where, who in holder.items()}
    while True:
        who = came_from[place]
        holder[place] = who
        if who == number:
            return
        place = held[who]
