"""Real processes for a storm: started once, given orders round after round."""

import json
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

SCRIPT = Path(__file__).with_name("worker.py")


class Worker:
    def __init__(self, inbox):
        self.process = subprocess.Popen([sys.executable, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid
        threading.Thread(target=self._listen, args=[inbox], daemon=True).start()

    def _listen(self, inbox):
        with self.process.stdout as lines:
            for line in lines:
                inbox.put((self, json.loads(line)))
        inbox.put((self, {"event": "gone"}))

    def tell(self, order):
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


class Workers:
    """`storm` and the other orders go to all; whoever was killed is replaced before the next round."""

    def __init__(self, number):
        self._inbox = queue.Queue()
        self._number = number
        self._workers = []
        self.start()

    def start(self):
        self._workers = [worker for worker in self._workers if worker.process.poll() is None]
        new = [Worker(self._inbox) for _ in range(self._number - len(self._workers))]
        self._workers += new
        for _ in new:
            self.next("started")

    def stop(self):
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.kill()

    def next(self, event):
        """The worker that reports this event next; what else is reported is dropped."""
        while True:
            worker, report = self._inbox.get()
            if report["event"] == event:
                return worker

    def begin(self, do="storm", *, only=None, **order):
        """Has the workers (or the first `only` of them) begin at the same moment."""
        self.start()
        chosen = self._workers[:only]
        for worker in chosen:
            worker.tell({"do": do, **order})
        for _ in chosen:
            self.next("ready")
        for worker in chosen:
            worker.tell("go")
        return chosen

    def finish(self, chosen):
        """What became of it: the callers' outcomes, and who asked the provider how often."""
        mints, outcomes, waiting = Counter(), [], set(chosen)
        while waiting:
            worker, report = self._inbox.get()
            match report["event"]:
                case "minting":
                    mints[report["pid"]] += 1
                case "done":
                    outcomes += report["outcomes"]
                    waiting.discard(worker)
                case "gone":
                    waiting.discard(worker)
        return SimpleNamespace(
            mints=mints,
            outcomes=outcomes,
            tokens={outcome[1] for outcome in outcomes if outcome[0] == "token"},
            errors=[outcome[1:] for outcome in outcomes if outcome[0] == "error"],
        )

    def run(self, do="storm", **order):
        return self.finish(self.begin(do, **order))
