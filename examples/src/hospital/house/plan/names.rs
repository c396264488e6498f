//! What there is in a hospital, made up.

pub(super) const GIVEN: [(&str, &str); 20] = [
    ("Asha", "F"),
    ("Ravi", "M"),
    ("Meena", "F"),
    ("Suresh", "M"),
    ("Lakshmi", "F"),
    ("Arjun", "M"),
    ("Kamla", "F"),
    ("Dinesh", "M"),
    ("Sunita", "F"),
    ("Mohan", "M"),
    ("Geeta", "F"),
    ("Vikram", "M"),
    ("Radha", "F"),
    ("Prakash", "M"),
    ("Savitri", "F"),
    ("Ganesh", "M"),
    ("Pushpa", "F"),
    ("Anil", "M"),
    ("Noor", "O"),
    ("Kiran", "O"),
];

pub(super) const FAMILY: [&str; 14] = [
    "Verma", "Sahu", "Netam", "Yadav", "Patel", "Markam", "Tiwari", "Dhruw", "Singh", "Bai",
    "D'Souza", "Uikey", "Kashyap", "Khan",
];

pub(super) const VILLAGES: [&str; 12] = [
    "Ganiyari",
    "Dhamtari",
    "Lormi",
    "Kota",
    "Bamhni",
    "Semariya",
    "Ratanpur",
    "Belgahna",
    "Takhatpur",
    "Pendra",
    "Marwahi",
    "Achanakmar",
];

/// Names and forms.
pub(super) const DRUGS: [(&str, &str); 20] = [
    ("Paracetamol", "Tablet"),
    ("Amoxicillin", "Capsule"),
    ("Ibuprofen", "Tablet"),
    ("Metformin", "Tablet"),
    ("Salbutamol", "Inhaler"),
    ("Atenolol", "Tablet"),
    ("Omeprazole", "Capsule"),
    ("Cetirizine", "Tablet"),
    ("Amlodipine", "Tablet"),
    ("Ferrous sulphate", "Tablet"),
    ("Folic acid", "Tablet"),
    ("Ceftriaxone", "Injection"),
    ("Diclofenac", "Injection"),
    ("Insulin", "Injection"),
    ("Oral rehydration salts", "Sachet"),
    ("Azithromycin", "Tablet"),
    ("Doxycycline", "Capsule"),
    ("Ranitidine", "Tablet"),
    ("Zinc", "Syrup"),
    ("Povidone iodine", "Ointment"),
];

pub(super) const STRENGTHS: [&str; 5] = ["500mg", "250mg", "100mg", "50mg", "5mg"];

/// Names and units.
pub(super) const TESTS: [(&str, &str); 20] = [
    ("Haemoglobin", "g/dl"),
    ("Platelets", "10^3/ul"),
    ("Leucocytes", "10^3/ul"),
    ("Glucose, fasting", "mg/dl"),
    ("Creatinine", "mg/dl"),
    ("Urea", "mg/dl"),
    ("Sodium", "mmol/l"),
    ("Potassium", "mmol/l"),
    ("Bilirubin, total", "mg/dl"),
    ("ALT", "U/l"),
    ("AST", "U/l"),
    ("Albumin", "g/dl"),
    ("Cholesterol", "mg/dl"),
    ("Triglycerides", "mg/dl"),
    ("TSH", "mIU/l"),
    ("HbA1c", "%"),
    ("ESR", "mm/h"),
    ("CRP", "mg/l"),
    ("Uric acid", "mg/dl"),
    ("Calcium", "mg/dl"),
];

pub(super) const EXAMINATIONS: [&str; 6] = [
    "Chest X-ray",
    "Skull X-ray",
    "Pelvis X-ray",
    "Knee X-ray, left",
    "Abdominal ultrasound",
    "Head CT",
];

pub(super) const SERVICES: [&str; 5] = [
    "Registration fee",
    "Consultation",
    "Dressing",
    "Physiotherapy",
    "Bed charge",
];

/// The one that comes after a name, in a circle; the first after what is none of them.
pub(super) fn after(names: &[&'static str], name: &str) -> &'static str {
    let at = names.iter().position(|known| *known == name);
    names[at.map_or(0, |at| (at + 1) % names.len())]
}
