"""Teachers that lag behind the tutor, on resume: the tutor's earlier weights, from the journal."""

from socratic_distill.errors import NoUsableCheckpoint, ServiceError
from socratic_distill.journal import Journal
from socratic_distill.panel import Panel
from socratic_distill.run import RunDirectory
from socratic_distill.service import Service, open_tutor


async def restore_tutors(panel: Panel, run: RunDirectory, service: Service, batch: int) -> None:
    """Opens the tutor's earlier weights that lagged teachers score batches from `batch` on with.

    Raises:
        NoUsableCheckpoint: the journal names no such weights, or the service does not have them any more.
    """
    needed = panel.tutors_before(batch)
    if not needed:
        return
    journal = Journal.read(run.checkpoints.path)
    for earlier in sorted(needed):
        paths = [path for path in journal.sampler_paths(earlier) if not journal.is_deleted(path)]
        problem: Exception | None = None
        for path in paths:
            try:
                panel.tutors[earlier] = await open_tutor(service, path)
                break
            except ServiceError as error:
                problem = error
        else:
            found = f"the service cannot open {paths[0]} ({problem})" if paths else "the journal names none"
            raise NoUsableCheckpoint(
                f"{run.path}: a teacher scores batch {batch} with the tutor's weights before batch {earlier}, and "
                f"{found}. Keep sampler weights longer (sampler_ttl_seconds), or start a run of its own from the "
                "newest state: another log_path, with this one as load_checkpoint_path"
            ) from problem
