"""What a run recorded, for other programs: conversations, a Hugging Face datasets folder, a table, a trace."""

from socratic_distill.outputs.exports.choice import Choice
from socratic_distill.outputs.exports.conversations import Exported, export_messages
from socratic_distill.outputs.exports.dataset import export_dataset
from socratic_distill.outputs.exports.table import export_csv
from socratic_distill.outputs.exports.trace import export_trace

__all__ = ["Choice", "Exported", "export_csv", "export_dataset", "export_messages", "export_trace"]
