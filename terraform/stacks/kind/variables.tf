variable "images" {
  type        = list(string)
  default     = ["perch-mlflow:0.1.0", "perch-operator:0.1.0", "perch-serving:0.1.0"]
  description = "Perch's images, as `make images` tags them."
}
