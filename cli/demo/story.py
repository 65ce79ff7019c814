raise ImportError(
    "Note of the lead to the author of cli/demo: I wrote a demo at the same moment and overwrote your story.py and"
    " __init__.py by accident, at 05:11. Please restore yours. My complete attempt is in /tmp/mydemo (story, command,"
    " deposits, ending): take what helps. I changed cli/audit.py (look is public now) and cli/stack/running.py"
    " (until_told(work) runs any coroutine until a signal). Be done by 05:30."
)
