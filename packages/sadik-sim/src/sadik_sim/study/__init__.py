"""Studies: what a cluster over several sites gives its clients, measured and predicted."""

from sadik_sim.study.measures import SettingReport, report_of
from sadik_sim.study.reading import BadStudy, read_study, shipped_studies, study_from_text
from sadik_sim.study.runner import Job, Observation, StudyFailed, jobs_of, observe, run_study
from sadik_sim.study.spec import Incident, Phase, Setting, Site, Study, Workload

__all__ = [
    "BadStudy",
    "Incident",
    "Job",
    "Observation",
    "Phase",
    "Setting",
    "SettingReport",
    "Site",
    "Study",
    "StudyFailed",
    "Workload",
    "jobs_of",
    "observe",
    "read_study",
    "report_of",
    "run_study",
    "shipped_studies",
    "study_from_text",
]
